import { createHash, timingSafeEqual } from 'node:crypto';
import { isLoopback } from '../config/rules.ts';
import { BanyanError } from '../core/errors.ts';

/** The status names tables, columns and errors: beyond this machine only with a token. */
export function refuseOpenHost(host: string, token: string | undefined): void {
  if (token !== undefined || isLoopback(host)) return;
  throw new BanyanError('config', `http.host is ${host}, which other machines can reach, and there is no http.token`, {
    remedy: 'set http.token (BANYAN_TOKEN; `openssl rand -hex 32` makes one), or http.host to 127.0.0.1',
  });
}

/** Whether an `Authorization` header carries the token. Takes the same time however much of it is right. */
export function tokenCheck(token: string): (header: string | undefined) => boolean {
  const expected = digest(token);
  return (header) => {
    const given = /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1];
    return given !== undefined && timingSafeEqual(digest(given), expected);
  };
}

/**
 * Whether the name in a `Host` header is one of this machine's own. Without a token, a web page that points its own name at 127.0.0.1 could
 * otherwise read the status through the browser of whoever works here.
 */
export function isOwnHostHeader(header: string | undefined): boolean {
  if (header === undefined) return false;
  return isLoopback(header.toLowerCase().replace(/:\d+$/, ''));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
