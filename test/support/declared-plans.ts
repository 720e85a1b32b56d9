import type pg from 'pg';

/** Plans of the cursors that are read meanwhile, as the server executed them, in their order. */
export async function readDeclared(client: pg.Client, read: () => Promise<void>): Promise<readonly string[]> {
  const plans: string[] = [];
  const onNotice = ({ message }: { message?: string | undefined }): void => {
    if (message?.includes('declare banyan_chunk') === true) plans.push(message);
  };
  await client.query(`load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_level = notice`);
  client.on('notice', onNotice);
  try {
    await read();
    // Answers come in order: what was reported before it is here by then.
    await client.query('set auto_explain.log_min_duration = -1');
  } finally {
    client.off('notice', onNotice);
  }
  return plans;
}
