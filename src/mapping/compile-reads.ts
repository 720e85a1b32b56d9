import type { EntryPlan } from './analyse.ts';
import { type CompiledRule, NO_RESOURCES } from './compile-rule.ts';
import { ReadWriter, type ReadWriterOptions } from './read-writer.ts';

type Parts = Pick<
  ReadWriterOptions,
  'columns' | 'resourcePrefix' | 'groupPrefix' | 'isRelaxed' | 'tellsApart' | 'index' | 'before' | 'textOf'
>;

/** What writes the events of reads from bytes, where every row becomes one event and nothing of it has to be computed. */
export function compileReads(plan: EntryPlan, rule: CompiledRule | undefined, parts: Parts): ReadWriter | undefined {
  const { source, bus, resources, key, columns } = plan;
  if (rule === undefined || rule.when !== undefined || rule.changed !== undefined) return undefined;
  if (rule.hasExpressions || rule.contract !== undefined || rule.headBytes === undefined) return undefined;
  if (typeof source !== 'string' || typeof rule.detailType !== 'string' || typeof bus === 'object') return undefined;
  // Without a key the group is a hash of the row.
  if (resources !== undefined || key.length === 0) return undefined;
  return new ReadWriter({
    ...parts,
    head: { source, detailType: rule.detailType, bus, resources: NO_RESOURCES, headBytes: rule.headBytes },
    key,
    fields: rule.fields,
    maskedAlready: columns.maskedAlready,
  });
}
