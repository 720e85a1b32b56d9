import { eventually } from './eventually.ts';
import { EMULATOR_CREDENTIALS, EMULATOR_REGION } from './aws-emulator.ts';

/**
 * Deploys a CloudFormation template on an emulator. It says that a stack is complete even where it knows a type not at all: whoever calls this looks for what the
 * template makes.
 */
export async function deployStack(
  endpoint: string,
  stack: { readonly name: string; readonly template: string },
): Promise<void> {
  await call(endpoint, { Action: 'CreateStack', StackName: stack.name, TemplateBody: stack.template });
  await eventually(async () => {
    const answer = await call(endpoint, { Action: 'DescribeStacks', StackName: stack.name });
    return answer.includes('<StackStatus>CREATE_COMPLETE</StackStatus>');
  });
}

async function call(endpoint: string, parameters: Readonly<Record<string, string>>): Promise<string> {
  const scope = `${EMULATOR_CREDENTIALS.AWS_ACCESS_KEY_ID}/20260101/${EMULATOR_REGION}/cloudformation/aws4_request`;
  const response = await fetch(endpoint, {
    method: 'POST',
    // It goes by the service of the scope, and checks no signature.
    headers: { authorization: `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=none` },
    body: new URLSearchParams({ Version: '2010-05-15', ...parameters }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`the emulator refused ${parameters['Action']}: ${text}`);
  return text;
}
