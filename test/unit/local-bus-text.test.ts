import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findExcess, sliceAt } from '../../src/local-bus/json-text.ts';
import { allowsRule, policyFor } from '../../src/local-bus/queue-policy.ts';
import { parsePath } from '../../src/local-bus/targets.ts';
import { regionOf } from '../../src/local-bus/wire.ts';

describe('a slice of JSON text', () => {
  it('is what JSON.parse finds at the path, for every path', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.constantFrom(undefined, 1, '\t'), (value, indent) => {
        const text = JSON.stringify(value, undefined, indent);
        const visit = (part: unknown, path: readonly (string | number)[]): void => {
          const slice = sliceAt(text, path);
          expect(JSON.parse(slice ?? 'undefined')).toEqual(part);
          if (Array.isArray(part)) for (const [index, element] of part.entries()) visit(element, [...path, index]);
          else if (typeof part === 'object' && part !== null) {
            for (const [key, member] of Object.entries(part)) visit(member, [...path, key]);
          }
        };
        visit(JSON.parse(text), []);
      }),
      { numRuns: 300 },
    );
  });

  it('is nothing where the path leads nowhere, and the last of members with one name', () => {
    expect(sliceAt('{"a":{"b":1}}', ['a', 'c'])).toBeUndefined();
    expect(sliceAt('{"a":[1]}', ['a', 1])).toBeUndefined();
    expect(sliceAt('{"a":[1]}', ['a', 'b'])).toBeUndefined();
    expect(sliceAt('{"a":1}', ['a', 0])).toBeUndefined();
    expect(sliceAt('[]', [0])).toBeUndefined();
    expect(sliceAt('{"a":1,"\\u0061":2}', ['a'])).toBe('2');
  });
});

describe('what is beyond EventBridge', () => {
  it('is an integer outside int64, whatever surrounds it', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 22n), max: 10n ** 22n }), fc.string(), (integer, text) => {
        const json = `{"t":${JSON.stringify(text)},"a":[1, ${integer} ]}`;
        const fits = integer >= -(2n ** 63n) && integer < 2n ** 63n;
        expect(findExcess(json)).toBe(fits ? undefined : 'an integer is beyond 64 bits');
      }),
      {
        examples: [
          [2n ** 63n, ''],
          [2n ** 63n - 1n, '"'],
          [-(2n ** 63n), '\\'],
          [-(2n ** 63n) - 1n, '['],
        ],
      },
    );
  });
});

describe('an input path', () => {
  it.each([
    ['$', []],
    ['$.detail', ['detail']],
    ['$.detail.a_b[2].c', ['detail', 'a_b', 2, 'c']],
    [`$['detail-type']["x.y"]`, ['detail-type', 'x.y']],
    ['$.detail-type', ['detail-type']],
    ['detail', undefined],
    ['$.detail.*', undefined],
    ['$..a', undefined],
    ['$.a[-1]', undefined],
    ['$.a ', undefined],
  ])('%s is read, or refused', (path, expected) => {
    expect(parsePath(path)).toEqual(expected);
  });
});

describe('a queue policy', () => {
  const question = {
    queueArn: 'arn:aws:sqs:eu-west-1:1:orders',
    ruleArn: 'arn:aws:events:eu-west-1:1:rule/shop/r',
    account: '1',
  };
  const statement = {
    Effect: 'Allow',
    Principal: { Service: 'events.amazonaws.com' },
    Action: 'sqs:SendMessage',
    Resource: question.queueArn,
  };
  const allows = (...Statement: readonly object[]): boolean => allowsRule(JSON.stringify({ Statement }), question);

  it('that we write allows its rules', () => {
    const policy = policyFor(question.queueArn, ['arn:aws:events:eu-west-1:1:rule/other', question.ruleArn]);
    expect(allowsRule(policy, question)).toBe(true);
    expect(allowsRule(policy, { ...question, ruleArn: `${question.ruleArn}2` })).toBe(false);
    expect(allowsRule(policy, { ...question, queueArn: `${question.queueArn}2` })).toBe(false);
  });

  it.each<[string, object, boolean]>([
    ['no condition', {}, true],
    ['another service', { Principal: { Service: 'sns.amazonaws.com' } }, false],
    ['several services', { Principal: { Service: ['sns.amazonaws.com', 'events.amazonaws.com'] } }, true],
    ['everybody', { Principal: '*' }, true],
    ['another account', { Principal: { AWS: 'arn:aws:iam::2:root' } }, false],
    ['all actions', { Action: 'SQS:*' }, true],
    ['another action', { Action: ['sqs:ReceiveMessage'] }, false],
    ['queues by wildcard', { Resource: 'arn:aws:sqs:*:1:ord*' }, true],
    ['the rule by wildcard', { Condition: { ArnLike: { 'aws:SourceArn': 'arn:aws:events:*:1:rule/shop/*' } } }, true],
    ['another rule', { Condition: { ArnEquals: { 'AWS:SourceArn': 'arn:aws:events:eu-west-1:1:rule/x' } } }, false],
    ['a wildcard as text', { Condition: { StringEquals: { 'aws:SourceArn': 'arn:aws:events:*' } } }, false],
    ['the account', { Condition: { StringEquals: { 'aws:SourceAccount': ['1', '2'] } } }, true],
    ['another condition', { Condition: { Bool: { 'aws:SecureTransport': 'true' } } }, false],
    ['another key', { Condition: { StringEquals: { 'aws:PrincipalOrgID': 'o' } } }, false],
  ])('for %s is read as IAM reads it', (_what, change, expected) => {
    expect(allows({ ...statement, ...change })).toBe(expected);
  });

  it('allows nothing without a statement, and nothing that is denied', () => {
    expect(allowsRule(undefined, question)).toBe(false);
    expect(allowsRule('', question)).toBe(false);
    expect(allowsRule('{', question)).toBe(false);
    expect(allows()).toBe(false);
    expect(allows(statement, { ...statement, Effect: 'Deny' })).toBe(false);
    expect(allowsRule(JSON.stringify({ Statement: statement }), question)).toBe(true);
  });
});

describe('the region of a request', () => {
  it('is in its credential scope', () => {
    const signed =
      'AWS4-HMAC-SHA256 Credential=AKIA/20260301/eu-west-1/events/aws4_request, SignedHeaders=host, Signature=ab';
    expect(regionOf(signed)).toBe('eu-west-1');
    for (const unsigned of [undefined, '', 'Bearer x', 'AWS4-HMAC-SHA256 Credential=AKIA'])
      expect(regionOf(unsigned)).toBeUndefined();
  });
});
