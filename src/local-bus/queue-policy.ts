import { isInput } from './input.ts';

export interface PolicyQuestion {
  readonly queueArn: string;
  readonly ruleArn: string;
  readonly account: string;
}

/**
 * Whether a queue's own policy lets EventBridge send to it for this rule. Without a policy the answer is no: that is why events vanish
 * silently on AWS. Knows the conditions that such policies have (aws:SourceArn, aws:SourceAccount); a statement with any other
 * condition allows nothing.
 */
export function allowsRule(policy: string | undefined, question: PolicyQuestion): boolean {
  const statements = statementsOf(policy).filter((statement) => concerns(statement, question));
  return (
    statements.some((statement) => statement['Effect'] === 'Allow') &&
    !statements.some((statement) => statement['Effect'] === 'Deny')
  );
}

/** The policy that a rule's queue needs, as JSON text; `ruleArns` may all send to it. */
export function policyFor(queueArn: string, ruleArns: readonly string[]): string {
  return JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { Service: 'events.amazonaws.com' },
        Action: 'sqs:SendMessage',
        Resource: queueArn,
        Condition: { ArnEquals: { 'aws:SourceArn': ruleArns } },
      },
    ],
  });
}

function statementsOf(policy: string | undefined): readonly Readonly<Record<string, unknown>>[] {
  if (policy === undefined || policy === '') return [];
  let document: unknown;
  try {
    document = JSON.parse(policy);
  } catch {
    // SQS would not have taken such a policy; it allows nothing.
    return [];
  }
  return isInput(document) ? listOf(document['Statement']).filter(isInput) : [];
}

function concerns(statement: Readonly<Record<string, unknown>>, question: PolicyQuestion): boolean {
  const principal = statement['Principal'];
  const services = isInput(principal) ? [...listOf(principal['Service']), ...listOf(principal['AWS'])] : [principal];
  if (!services.some((service) => service === '*' || service === 'events.amazonaws.com')) return false;
  const actions = listOf(statement['Action']);
  if (!actions.some((action) => typeof action === 'string' && isLike('sqs:sendmessage', action.toLowerCase()))) {
    return false;
  }
  const resources = listOf(statement['Resource']);
  if (!resources.some((resource) => typeof resource === 'string' && isLike(question.queueArn, resource))) return false;
  const condition = statement['Condition'];
  return condition === undefined || (isInput(condition) && isMet(condition, question));
}

function isMet(condition: Readonly<Record<string, unknown>>, question: PolicyQuestion): boolean {
  return Object.entries(condition).every(([operator, keys]) => {
    if (!['ArnEquals', 'ArnLike', 'StringEquals', 'StringLike'].includes(operator) || !isInput(keys)) return false;
    return Object.entries(keys).every(([key, wanted]) => {
      const actual = { 'aws:sourcearn': question.ruleArn, 'aws:sourceaccount': question.account }[key.toLowerCase()];
      if (actual === undefined) return false;
      const takesWildcards = operator !== 'StringEquals';
      return listOf(wanted).some(
        (one) => typeof one === 'string' && (takesWildcards ? isLike(actual, one) : actual === one),
      );
    });
  });
}

/** `*` for any run of characters, `?` for one. */
function isLike(text: string, pattern: string): boolean {
  const escaped = pattern.replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`, 's').test(text);
}

function listOf(value: unknown): readonly unknown[] {
  return value === undefined ? [] : Array.isArray(value) ? (value as readonly unknown[]) : [value];
}
