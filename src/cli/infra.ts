import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { infraTemplate, infraYaml } from './infra-template.ts';

/** Prints the template that makes what the configuration sends to; it deploys nothing. */
export async function infra(options: { account: string | undefined }, context: CommandContext): Promise<ExitCode> {
  const { config } = await loadFor(context);
  const template = infraTemplate(config, options);
  if (context.output.json) {
    context.output.value(template.document);
    return ExitCode.ok;
  }
  context.output.line(infraYaml(template));
  context.output.note(
    [
      'Deploy it with the AWS CLI:',
      `  aws cloudformation deploy --stack-name ${template.stackName} --template-file FILE --capabilities ${template.capability}${template.region === undefined ? '' : ` --region ${template.region}`}`,
      `Then attach the policy (output WorkerPolicyArn) to the role of the worker, and write in the configuration:`,
      `  bus: { type: eventbridge, name: ${template.busName}, region: ${template.region ?? 'REGION'} }`,
      ...(config.reverse === undefined
        ? []
        : ['and `reverse.queue` as the output ReverseQueueUrl has it, where the template makes that queue.']),
    ].join('\n'),
  );
  return ExitCode.ok;
}
