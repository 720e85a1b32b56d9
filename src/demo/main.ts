import { runDemo, type WholeReport } from './demo.ts';
import { parseOptions } from './options.ts';
import { createScreen } from './screen.ts';

const options = parseOptions(process.argv.slice(2));
const out = options.json ? process.stderr : process.stdout;
const screen = createScreen(out);
const closed = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    // The second one does not wait; the guardian of the server removes what would stay behind.
    if (closed.signal.aborted) process.exit(130);
    closed.abort();
  });
}

try {
  const report = await runDemo(options, { screen, signal: closed.signal });
  const { reverse } = report;
  const whole =
    report.missing === 0 &&
    report.unexpected === 0 &&
    report.outOfOrder === 0 &&
    report.notBackfilled === 0 &&
    reverse.differing === 0 &&
    reverse.causedMissing === 0 &&
    reverse.echoesPublished === 0 &&
    reverse.unexplained === 0;
  if (!options.json) out.write(`\n${inWords(report)}\n`);
  out.write(
    'removed: the PostgreSQL server with its data and slot, the bus, and the queues; nothing is left running\n',
  );
  if (options.json) process.stdout.write(`${JSON.stringify(report)}\n`);
  process.exitCode = whole ? 0 : 1;
} catch (error) {
  screen.close();
  process.stderr.write(`the demo failed: ${error instanceof Error ? (error.stack ?? error.message) : 'unknown'}\n`);
  process.exitCode = 1;
}

function inWords(report: WholeReport): string {
  const { p50, p99 } = report.latencyMs;
  const { reverse } = report;
  return [
    `${report.changesCommitted} row changes in ${report.transactionsCommitted} transactions were to make ${report.eventsExpected} events`,
    `${report.received} came out of their queue: ${report.missing} missing, ${report.unexpected} unexpected, ${report.repeated} repeated, ${report.outOfOrder} out of order`,
    `of ${report.backfilled + report.notBackfilled} rows that were there before, ${report.backfilled} were backfilled: ${report.notBackfilled} not; ${report.reads} read events`,
    `from commit to the bus: ${p50 ?? '–'} ms (median), ${p99 ?? '–'} ms (99 of 100)`,
    `the way back: ${reverse.decisions} decisions, ${reverse.sentTwice} of them sent twice and ${reverse.sentLate} behind a newer one, about ${reverse.decided} deliveries`,
    `${reverse.applied} of these stand in the legacy tables as the service has them, ${reverse.differing} do not; ${reverse.echoesPublished} echoes published`,
    `triggers corrected ${reverse.corrected} and caused ${reverse.caused} rows; ${reverse.refused} decisions gave way to a clerk's change`,
  ].join('\n');
}
