import { BanyanError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { displayName, matchesTable, parseTableWord, type QualifiedName } from '../postgres/identifier.ts';

/** The one table that a person means, by SQL's rules of case and quotes; the name alone where that is but one. Throws `usage` where it is none, or several. */
export function tableNamed<T extends QualifiedName>(
  name: string,
  {
    tables,
    what,
    unknown,
    remedy,
  }: {
    readonly tables: readonly T[];
    /** `table`, `captured table` */
    readonly what: string;
    /** Said where there is none. */
    readonly unknown: string;
    /** Where no name is near. */
    readonly remedy: string;
  },
): T {
  const wanted = parseTableWord(name);
  const found = tables.filter((table) => matchesTable(wanted, table));
  const [table] = found;
  if (table !== undefined && found.length === 1) return table;
  if (table !== undefined) {
    throw new BanyanError('usage', `${name} is more than one ${what}`, {
      remedy: `name one of ${found.map(displayName).slice(0, 10).join(', ')}`,
    });
  }
  const near = nearest(
    name,
    tables.flatMap((candidate) => [displayName(candidate), candidate.name]),
  );
  throw new BanyanError('usage', unknown, { remedy: near === undefined ? remedy : `did you mean ${near}?` });
}
