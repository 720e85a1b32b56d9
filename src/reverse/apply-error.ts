import pg from 'pg';
import { BanyanError, type ErrorKind } from '../core/errors.ts';
import { displayName } from '../postgres/identifier.ts';
import type { CatalogTable } from '../postgres/table.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import type { ConflictKind } from './intent.ts';

/**
 * What a failed statement of the apply transaction means. A BanyanError of the reaction `retry`, or of the kind `unknown`: for the whole transaction; else for
 * this event alone. Messages name constraints, never values.
 */
export function applyError(error: unknown, table: CatalogTable): BanyanError {
  if (error instanceof BanyanError) return error;
  const name = displayName(table);
  const general = toDatabaseError(error, `applying an event to ${name}`);
  if (!(error instanceof pg.DatabaseError) || error.code === undefined || general.reaction === 'retry') return general;
  const { code } = error;
  if (isOutdatedPlan(error)) {
    return new BanyanError('database-unavailable', `${name} was altered while statements for it were prepared`, {
      code,
    });
  }
  const rule = RULES.find(({ codes }) => codes.test(code));
  if (rule === undefined) return general;
  const { kind, conflict, says } = rule;
  const constraint = error.constraint === undefined ? '' : ` ${error.constraint}`;
  return new BanyanError(kind, `${name}: ${says}${constraint} (SQLSTATE ${code})`, {
    code,
    context: { ...general.context, conflict },
  });
}

/** A prepared statement whose columns have other types now; a new session prepares it again. */
export function isOutdatedPlan(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '0A000' && error.routine === 'RevalidateCachedQuery';
}

interface Rule {
  readonly codes: RegExp;
  readonly kind: ErrorKind;
  readonly conflict: ConflictKind | undefined;
  readonly says: string;
}

/** The first that fits. Whatever else a server says of one statement is of that event: triggers raise codes of their own. */
const RULES: readonly Rule[] = [
  { codes: /^(42501|28)/, kind: 'database-privilege', conflict: undefined, says: 'the role lacks a right' },
  { codes: /^23503/, kind: 'parent-missing', conflict: 'fk_missing', says: 'refused by the foreign key' },
  { codes: /^23/, kind: 'row-refused', conflict: 'constraint_violation', says: 'refused by the constraint' },
  { codes: /^44/, kind: 'row-refused', conflict: 'constraint_violation', says: 'refused by a check option' },
  { codes: /^22/, kind: 'row-refused', conflict: 'constraint_violation', says: 'a value does not fit its column' },
  { codes: /^P0/, kind: 'row-refused', conflict: 'constraint_violation', says: 'refused by a trigger or function' },
  // Ours have no syntax errors: it is the text of a tsquery or jsonpath.
  { codes: /^42601/, kind: 'row-refused', conflict: 'constraint_violation', says: 'a value does not fit its column' },
  {
    codes: /^(42|3D|3F|55)/,
    kind: 'schema-drift',
    conflict: 'schema_mismatch',
    says: 'it is not as the entry needs it',
  },
  { codes: /^/, kind: 'row-refused', conflict: 'constraint_violation', says: 'the row was refused' },
];
