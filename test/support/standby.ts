import { execFile } from 'node:child_process';
import { appendFile, chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from './eventually.ts';

const run = promisify(execFile);

/** Physical slot of the standby, and what `synchronized_standby_slots` of the primary names. */
export const STANDBY_SLOT = 'standby';

/** A copy of the primary's data, ready to become its standby. */
export interface StandbyCopy extends AsyncDisposable {
  /** Starts it. The primary's failover slots should be there already: without any, the standby looks again after up to 30 s only. */
  start(): Promise<EmbeddedPostgres>;
}

/** Copies the whole cluster (the packages bring no pg_basebackup); the primary is down meanwhile. */
export async function copyForStandby(primary: EmbeddedPostgres): Promise<StandbyCopy> {
  await primary.query(`select pg_create_physical_replication_slot('${STANDBY_SLOT}', true)`);
  const folder = await mkdtemp(join(dirname(dirname(primary.dataDirectory)), 'banyan-standby-'));
  // As for the primary's folder: the server's own user must be able to walk in.
  await chmod(folder, 0o755);
  await primary.shutdown('fast');
  await run('cp', ['-a', primary.dataDirectory, folder]);
  await primary.restart();

  const dataDirectory = join(folder, 'data');
  const slots = join(dataDirectory, 'pg_replslot');
  for (const slot of await readdir(slots)) await rm(join(slots, slot), { recursive: true });
  await writeFile(join(dataDirectory, 'standby.signal'), '');
  await appendFile(
    join(dataDirectory, 'postgresql.auto.conf'),
    [
      `primary_conninfo = 'host=127.0.0.1 port=${primary.port} user=postgres dbname=postgres'`,
      `primary_slot_name = '${STANDBY_SLOT}'`,
      'hot_standby_feedback = on',
      'sync_replication_slots = on',
      '',
    ].join('\n'),
  );
  let server: EmbeddedPostgres | undefined;
  return {
    async start() {
      server = await EmbeddedPostgres.start({ dataDirectory });
      return server;
    },
    async [Symbol.asyncDispose]() {
      await server?.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Until the standby has a copy of the slot that outlives a promotion. */
export async function slotSynced(
  primary: EmbeddedPostgres,
  options: { standby: EmbeddedPostgres; slot: string },
): Promise<void> {
  const { standby, slot } = options;
  await eventually(
    async () => {
      // The copy becomes usable when the primary's slot has moved on, which takes a snapshot in its WAL.
      await primary.query('select pg_log_standby_snapshot()');
      const { rows } = await standby.query(
        `select 1 from pg_replication_slots where slot_name = '${slot}' and synced and not temporary`,
      );
      return rows.length === 1;
    },
    () => `slot ${slot} was never synchronised:\n${standby.log.slice(-3_000)}`,
    { everyMs: 200 },
  );
}

/** From here on the standby's copy of the slots stays as it is, and falls behind. */
export async function stopSlotSync(standby: EmbeddedPostgres): Promise<void> {
  await standby.query('alter system set sync_replication_slots = off');
  await standby.query('select pg_reload_conf()');
  await eventually(async () => {
    const { rows } = await standby.query("select 1 from pg_stat_activity where backend_type = 'slotsync worker'");
    return rows.length === 0;
  });
}
