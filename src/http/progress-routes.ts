import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { BanyanError } from '../core/errors.ts';
import type { History, ProgressReport } from '../core/progress.ts';
import { resolvesWithin } from '../flow/within.ts';
import { type HistoryQuery, parseHistoryQuery } from './history-query.ts';
import { mapMovingOfTable } from './page/moving.js';

/** Where the routes have it from. */
export interface ProgressSource {
  /** Made at most once in two seconds; throws a BanyanError where none was ever made. */
  report(): Promise<ProgressReport>;
  history(query: HistoryQuery): Promise<History>;
}

/** For numbers that are told with and without it; undefined: none can be made now, or not in time. An old one is no news. */
export async function reportInTime(
  source: Pick<ProgressSource, 'report'>,
  limitMs: number,
): Promise<ProgressReport | undefined> {
  try {
    const making = source.report();
    if (!(await resolvesWithin(limitMs, making))) return undefined;
    const made = await making;
    return made.stale === undefined ? made : undefined;
  } catch {
    // Whoever made it has logged why.
    return undefined;
  }
}

/** A facade may keep an answer so long, and need not ask meanwhile. */
const TABLE_MAX_AGE_SECONDS = 5;

export function serveProgress(app: FastifyInstance, source: ProgressSource): void {
  app.get('/v1/tables', async (_request, reply) => {
    const report = await asked(reply, () => source.report());
    return report === undefined ? reply : reply.type(JSON_TYPE).send(jsonOf(report));
  });

  app.get<{ Params: { table: string } }>('/v1/tables/:table', async (request, reply) => {
    const report = await asked(reply, () => source.report());
    if (report === undefined) return reply;
    const { table } = request.params;
    const found = report.tables.find((candidate) => candidate.table === table);
    if (found === undefined) return unknownTable(reply, report);
    // A report that could not be made anew says so on every table, too: a facade that routes by it has to know.
    const body = JSON.stringify({ ...found, at: report.at, stale: report.stale });
    // When it was looked at is in the body, and no news: so what is the same by this is not the same to the letter.
    const lasting = mapMovingOfTable(found, () => undefined);
    const etag = `W/"${digest(JSON.stringify({ ...lasting, stale: report.stale }))}"`;
    reply
      .header('cache-control', `private, max-age=${TABLE_MAX_AGE_SECONDS}`)
      .header('vary', 'authorization')
      .header('etag', etag);
    if (isKnown(request, etag)) return reply.code(304).send();
    return reply.type(JSON_TYPE).send(body);
  });

  app.get<{ Querystring: Record<string, unknown> }>('/v1/history', async (request, reply) => {
    const history = await asked(reply, async () => {
      const query = parseHistoryQuery(request.query, new Date());
      if (query.table === undefined) return source.history(query);
      const report = await source.report();
      return report.tables.some(({ table }) => table === query.table) ? source.history(query) : report;
    });
    if (history === undefined) return reply;
    return 'traffic' in history ? reply.send(history) : unknownTable(reply, history);
  });
}

const JSON_TYPE = 'application/json; charset=utf-8';
const texts = new WeakMap<ProgressReport, string>();

/** Of a report that many ask for, once. */
export function jsonOf(report: ProgressReport): string {
  const known = texts.get(report);
  if (known !== undefined) return known;
  const text = JSON.stringify(report);
  texts.set(report, text);
  return text;
}

/** undefined: it could not be had, and that is answered. What is nobody's fault here is thrown. */
async function asked<T>(reply: FastifyReply, ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof BanyanError) || error.kind === 'unknown') throw error;
    const { kind, message, remedy } = error;
    if (kind !== 'usage') reply.header('retry-after', '5');
    await reply.code(kind === 'usage' ? 400 : 503).send({ error: message, kind, remedy });
    return undefined;
  }
}

function unknownTable(reply: FastifyReply, { tables }: ProgressReport): FastifyReply {
  return reply.code(404).send({
    error: `no table of that name; ${tables.length} are known`,
    remedy:
      'write it as `/v1/tables` lists it, schema and name with a dot between, percent-encoded: /v1/tables/public.orders',
  });
}

function isKnown(request: FastifyRequest, etag: string): boolean {
  const known = request.headers['if-none-match']?.split(',').map((each) => each.trim().replace(/^W\//, ''));
  return known?.includes(etag.replace(/^W\//, '')) === true;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 27);
}
