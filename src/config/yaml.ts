import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, parseDocument, visit, type Document } from 'yaml';
import type { Path, Problem } from './problem.ts';

export interface YamlSource {
  /** Plain values, before substitution; undefined where the text is empty. */
  readonly document: unknown;
  /** Line of an option, from 1; of its nearest parent where it is not written; undefined outside of the text. */
  lineOf(path: Path): number | undefined;
  /** Errors that leave no document to look at any further. */
  readonly syntax: readonly string[];
  readonly problems: readonly Problem[];
}

export function parseYaml(text: string): YamlSource {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, merge: true, prettyErrors: false, stringKeys: true });
  const syntax = [...document.errors, ...document.warnings].map((error) => {
    const { line, col } = lines.linePos(error.pos[0]);
    return `line ${line}, column ${col}: ${firstLine(error.message)}`;
  });
  const lineOf = (path: Path) => {
    const offset = offsetOf(document, path);
    return offset === undefined ? undefined : lines.linePos(offset).line;
  };
  if (syntax.length > 0) return { document: undefined, lineOf, syntax, problems: [] };
  try {
    return { document: document.toJS(), lineOf, syntax, problems: unfitNumbers(document) };
  } catch (error) {
    // An alias without its anchor, or one that expands beyond all measure.
    return { document: undefined, lineOf, syntax: [error instanceof Error ? error.message : 'not YAML'], problems: [] };
  }
}

function firstLine(message: string): string {
  return message.split('\n')[0] ?? message;
}

/** Numbers that JavaScript would round, or that JSON can not say: better refused than changed. */
function unfitNumbers(document: Document): Problem[] {
  const problems: Problem[] = [];
  visit(document, {
    Scalar(key, node, parents) {
      if (key === 'key' || typeof node.value !== 'number') return;
      if (Number.isFinite(node.value) && !(Number.isInteger(node.value) && !Number.isSafeInteger(node.value))) return;
      problems.push({
        path: pathOf([...parents, node]),
        message: 'a number that JSON can not carry exactly',
        remedy: 'write it as a text, in quotes',
      });
    },
  });
  return problems;
}

function pathOf(chain: readonly unknown[]): Path {
  const path: (string | number)[] = [];
  chain.forEach((node, index) => {
    const next = chain[index + 1];
    if (isSeq(node)) path.push(node.items.indexOf(next));
    if (isPair(node)) path.push(keyText(node.key));
  });
  return path;
}

function offsetOf(document: Document, path: Path): number | undefined {
  let node: unknown = document.contents;
  let offset: number | undefined;
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isSeq(node)) {
      node = node.items[Number(step)];
      offset = startOf(node) ?? offset;
    } else if (isMap(node)) {
      const pair = node.items.find((item) => keyText(item.key) === step);
      if (pair === undefined) return offset;
      offset = startOf(pair.key) ?? offset;
      node = pair.value;
    } else {
      return offset;
    }
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return (isScalar(node) || isMap(node) || isSeq(node) || isAlias(node)) && node.range ? node.range[0] : undefined;
}

function keyText(key: unknown): string {
  return String(isScalar(key) ? key.value : key);
}
