import type { BanyanError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import { count, indent, type Output } from './output.ts';

const ORDER = { error: 0, warning: 1, info: 2 } as const;
const MARKS = { error: '✗', warning: '!', info: '·' } as const;
const STYLES = { error: 'red', warning: 'yellow', info: 'dim' } as const;

/** Findings by what they are about, the worst first; under each the statement that mends it, ready to be pasted. */
export function printFindings(findings: readonly Finding[], output: Output): void {
  const groups = [...Map.groupBy(findings, (finding) => finding.subject)];
  groups.sort(([, a], [, b]) => worst(a) - worst(b));
  for (const [subject, of] of groups) {
    output.line(output.paint('bold', subject));
    for (const finding of of.toSorted((a, b) => ORDER[a.severity] - ORDER[b.severity])) {
      const { severity, code, path, message, remedy } = finding;
      const place = path === undefined ? '' : `${path}: `;
      const mark = output.paint(STYLES[severity], MARKS[severity]);
      output.line(`  ${mark} ${place}${message} ${output.paint('dim', `[${code}]`)}`);
      if (remedy !== undefined) output.line(indent(remedy, 6));
    }
    output.line();
  }
}

function worst(findings: readonly Finding[]): number {
  return Math.min(...findings.map(({ severity }) => ORDER[severity]));
}

export function verdictLine(
  findings: readonly Finding[],
  about: { readonly output: Output; readonly ready: string; readonly next: string },
): string {
  const { output, ready, next } = about;
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  const warnings = findings.filter(({ severity }) => severity === 'warning').length;
  if (errors > 0) {
    const also = warnings === 0 ? '' : `, ${count(warnings, 'warning')}`;
    return `${output.paint('red', '✗')} not ready: ${count(errors, 'error')}${also}. Mend ${errors === 1 ? 'it' : 'them'} and check again.`;
  }
  const also = warnings === 0 ? '' : ` (${count(warnings, 'warning')})`;
  return `${output.paint('green', '✓')} ${ready}${also}. Next: ${next}`;
}

/** A failure of what was asked, as a finding. */
export function asFinding(error: BanyanError, place: { code: string; subject: string; path: string }): Finding {
  const remedy = error.remedy.startsWith('none') ? {} : { remedy: error.remedy };
  return { ...place, severity: 'error', message: error.message, ...remedy };
}
