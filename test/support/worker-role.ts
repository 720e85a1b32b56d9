import pg from 'pg';
import { initRole } from '../../src/cli/init-role.ts';
import type { Output } from '../../src/cli/output.ts';

/** The way of a test's database to its worker's role: `init --role` prints it, and a superuser runs it, as a DBA would. */
export interface WorkerRole {
  /** The database, as that role. */
  readonly url: string;
  /** Runs the script for this configuration, whose `legacy.url` is a superuser's. Rights that an earlier one gave stay. */
  grant(config: object): Promise<void>;
}

/** One for each database: roles are the server's, their rights should not be. */
export function workerRole(adminUrl: string): WorkerRole {
  const url = new URL(adminUrl);
  const role = `${decodeURIComponent(url.pathname.slice(1))} worker`;
  url.username = encodeURIComponent(role);
  url.password = '';
  return {
    url: url.href,
    async grant(config) {
      const script = await printed(role, config);
      const client = new pg.Client({ connectionString: adminUrl });
      await client.connect();
      try {
        await client.query(script);
      } finally {
        await client.end();
      }
    },
  };
}

async function printed(role: string, config: object): Promise<string> {
  let script = '';
  const output: Output = {
    json: true,
    line() {},
    value: (value) => ({ sql: script } = value as { sql: string }),
    note() {},
    paint: (_style, text) => text,
  };
  const env = { BANYAN_CONFIG_YAML: JSON.stringify(config) };
  await initRole({ role, tables: undefined }, { configFile: undefined, env, output });
  return script;
}
