import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import type { MapperFactory } from './mappers.ts';

/** For a slot that is used for the first time: a mapping that does not fit is a mistake, not drift. */
export function refuseBrokenMapping(factory: MapperFactory): void {
  const [finding] = mappingFindings(factory);
  if (finding === undefined) return;
  throw new BanyanError('preflight', finding.message, {
    context: { subject: finding.subject },
    remedy: 'run `banyan check`',
  });
}

/** Tables whose mapping does not fit what their columns are now. */
export function mappingFindings(factory: MapperFactory): Finding[] {
  return factory.captured.flatMap(({ table }) => {
    const subject = `${table.schema}.${table.name}`;
    try {
      factory.compileNow(subject);
      return [];
    } catch (error) {
      const { message, remedy } = toBanyanError(error, `compiling the mapping of ${subject}`);
      return [{ code: 'MAPPING_BROKEN', severity: 'error' as const, subject, message, remedy }];
    }
  });
}
