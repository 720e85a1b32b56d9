import { PostgreSqlContainer } from '@testcontainers/postgresql';
import pg from 'pg';
import {
  type ContainerRuntimeClient,
  GenericContainer,
  getContainerRuntimeClient,
  ImageName,
  Wait,
} from 'testcontainers';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { EMULATOR_CREDENTIALS, eventOfBody } from '../support/aws-emulator.ts';
import { FORWARD_CAPTURE, FORWARD_EVENTS, FORWARD_SETUP, runTransactions, told } from '../support/forward-scenario.ts';
import { forwardToEmulator } from '../support/forward-to-emulator.ts';
import { type DatabaseServer, makeBed } from '../support/worker-harness.ts';

/** The images that people run, where a Docker engine answers; `forward.test.ts` has the same on servers that need no engine. */
const ENGINE_ANSWER_MS = 10_000;
/** The emulator is a second opinion: nobody waits for its image on a slow line. */
const EMULATOR_IMAGE_MS = 30_000;
const EMULATOR_IMAGE = 'motoserver/moto:latest';
const START_MS = 180_000;

let engine: ContainerRuntimeClient | { readonly absent: string };

beforeAll(async () => {
  for (const [name, value] of Object.entries(EMULATOR_CREDENTIALS)) vi.stubEnv(name, value);
  engine = await within(getContainerRuntimeClient(), ENGINE_ANSWER_MS).catch((error: unknown) => ({
    absent: `no Docker engine answers: ${messageOf(error)}`,
  }));
});

afterAll(() => {
  vi.unstubAllEnvs();
});

test.for(['15', '17', '18'])(
  'the image postgres:%s: every committed change is an event',
  { timeout: START_MS },
  async (tag, context) => {
    if ('absent' in engine) return notRun(context, engine.absent);
    await using server = await postgresContainer(tag);
    await using bed = await makeBed(server, { name: 'forward', setup: FORWARD_SETUP });
    await bed.start({ capture: FORWARD_CAPTURE });
    await runTransactions(bed);
    await bed.confirmed();
    expect(told(bed.events)).toEqual(FORWARD_EVENTS);
    expect(await bed.sql('show server_version')).toEqual([{ server_version: expect.stringMatching(`^${tag}[.]`) }]);
  },
);

test('images at both ends: PostgreSQL and an emulator of AWS', { timeout: START_MS }, async (context) => {
  if ('absent' in engine) return notRun(context, engine.absent);
  const problem = await pullProblem(engine, EMULATOR_IMAGE);
  if (problem !== undefined) return notRun(context, `the image ${EMULATOR_IMAGE} can not be had: ${problem}`);
  await using emulator = await new GenericContainer(EMULATOR_IMAGE)
    .withExposedPorts(5000)
    .withWaitStrategy(Wait.forHttp('/moto-api/data.json', 5000))
    .start();
  await using server = await postgresContainer('18');
  const bodies = await forwardToEmulator(server, `http://${emulator.getHost()}:${emulator.getMappedPort(5000)}`);
  expect(told(bodies.map(eventOfBody))).toEqual(FORWARD_EVENTS);
});

/** Tells both who reads the output and the report why there is no result. */
function notRun(context: { skip: (note: string) => void }, reason: string): void {
  console.info(`not run: ${reason}`);
  context.skip(reason);
}

async function postgresContainer(tag: string): Promise<DatabaseServer & AsyncDisposable> {
  const container = await new PostgreSqlContainer(`postgres:${tag}`)
    .withCommand(['postgres', '-c', 'wal_level=logical', '-c', 'fsync=off'])
    .start();
  return {
    async createDatabase(name, options = '') {
      const client = new pg.Client({ connectionString: container.getConnectionUri() });
      await client.connect();
      try {
        await client.query(`create database ${pg.escapeIdentifier(name)} ${options}`);
      } finally {
        await client.end();
      }
      const url = new URL(container.getConnectionUri());
      url.protocol = 'postgresql:';
      url.pathname = `/${name}`;
      return url.href;
    },
    async [Symbol.asyncDispose]() {
      await container.stop();
    },
  };
}

async function pullProblem(client: ContainerRuntimeClient, image: string): Promise<string | undefined> {
  const name = ImageName.fromString(image);
  try {
    if (!(await client.image.exists(name))) await within(client.image.pull(name), EMULATOR_IMAGE_MS);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

async function within<T>(work: Promise<T>, limitMs: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${limitMs / 1_000} s`)), limitMs);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
