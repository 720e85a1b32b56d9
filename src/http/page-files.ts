import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';

/** A file of the page as it is served. It holds no data, so anybody may have it. */
export interface PageFile {
  readonly body: Buffer;
  readonly contentType: string;
  readonly etag: string;
}

/** Beside this module, both in `src` and in `dist`. */
const FOLDER = fileURLToPath(new URL('./page/', import.meta.url));

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** Of the plots; served as the package brings them. */
const UPLOT = ['uPlot.esm.js', 'uPlot.min.css'];

/** The page loads nothing but its own files, and runs nothing that stands in its text. */
const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self'",
  "font-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** All files of the page by their path, read once: what is not among them does not exist, whatever a path says. */
export async function readPageFiles(): Promise<ReadonlyMap<string, PageFile>> {
  const names = (await readdir(FOLDER)).filter((name) => extname(name) in CONTENT_TYPES);
  const uplot = dirname(createRequire(import.meta.url).resolve('uplot'));
  const places = [...names.map((name) => join(FOLDER, name)), ...UPLOT.map((name) => join(uplot, name))];
  const files = await Promise.all(places.map(readPageFile));
  return new Map(files);
}

async function readPageFile(place: string): Promise<[path: string, file: PageFile]> {
  const body = await readFile(place);
  const name = place.slice(dirname(place).length + 1);
  const contentType = CONTENT_TYPES[extname(name)] as string;
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 27)}"`;
  return [name === 'index.html' ? '/' : `/assets/${name}`, { body, contentType, etag }];
}

export function servePage(app: FastifyInstance, files: ReadonlyMap<string, PageFile>): void {
  for (const [path, { body, contentType, etag }] of files) {
    app.get(path, (request, reply) => {
      // Kept, and asked about each time: another version of the worker brings other files under the same names.
      reply.header('cache-control', 'no-cache').header('etag', etag).header('content-security-policy', PAGE_POLICY);
      if (request.headers['if-none-match'] === etag) return reply.code(304).send();
      return reply.type(contentType).send(body);
    });
  }
}
