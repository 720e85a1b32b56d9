// @ts-check

const KEY = 'banyan.token';

/** The worker wants a token, or another one. */
export class Locked extends Error {}

export const token = {
  /** @returns {string | undefined} */
  get: () => sessionStorage.getItem(KEY) ?? undefined,
  /** @param {string} value */
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/**
 * @param {string} path
 * @param {AbortSignal} signal
 * @returns {Promise<Response>} answered with success
 */
export async function ask(path, signal) {
  const given = token.get();
  /** @type {Response} */
  let response;
  try {
    response = await fetch(path, {
      signal,
      headers: given === undefined ? {} : { authorization: `Bearer ${given}` },
      cache: 'no-store',
      credentials: 'omit',
    });
  } catch (error) {
    if (signal.aborted && signal.reason?.name !== 'TimeoutError') throw error;
    const why = signal.aborted ? 'did not answer in time' : 'can not be reached';
    throw new Error(`The worker ${why} (GET ${pathOf(path)}).`, { cause: error });
  }
  if (response.status === 401) throw new Locked('the token is missing or wrong');
  if (!response.ok) throw new Error(`GET ${pathOf(path)} answered ${response.status}: ${await reasonOf(response)}`);
  return response;
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function askJson(path, signal) {
  const limit = AbortSignal.timeout(8_000);
  const response = await ask(path, signal === undefined ? limit : AbortSignal.any([signal, limit]));
  return response.json();
}

/**
 * @param {{ table?: string | undefined, hours: number, now: number }} what
 * @param {AbortSignal} signal
 * @returns {Promise<import('../../core/progress.ts').History>}
 */
export function askHistory({ table, hours, now }, signal) {
  const step = stepOf(hours);
  const query = new URLSearchParams({
    from: new Date(now - hours * 3_600_000).toISOString(),
    to: new Date(now).toISOString(),
    step: String(step),
  });
  if (table !== undefined) query.set('table', table);
  return askJson(`/v1/history?${query}`, signal);
}

/**
 * Some hundred points, in steps that people think in.
 *
 * @param {number} hours
 */
export function stepOf(hours) {
  if (hours <= 3) return 60;
  return hours <= 24 ? 600 : 3_600;
}

/** @param {string} path */
function pathOf(path) {
  return path.split('?')[0] ?? path;
}

/** @param {Response} response */
async function reasonOf(response) {
  const text = await response.text().catch(() => '');
  try {
    const { error, remedy } = JSON.parse(text);
    return remedy === undefined ? `${error}` : `${error}. Remedy: ${remedy}`;
  } catch {
    return text.slice(0, 200) || response.statusText || 'no reason given';
  }
}
