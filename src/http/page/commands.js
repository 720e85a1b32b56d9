// @ts-check
import { commandLine, el } from './dom.js';

/** Those that take a table. */
const OF_TABLE = new Set(['backfill', 'readers', 'stage', 'verdict', 'verify', 'waive', 'writers']);
const OTHERS = new Set(['check', 'init', 'preview', 'recover', 'resolve-conflict', 'run', 'status', 'teardown']);
const WITH_VERB = new Set(['conflicts', 'dead-letters']);

/**
 * Whether a next step is a command line. Prose may begin with the same word: `check the network`.
 *
 * @param {string} next
 */
export function isCommand(next) {
  // A name in quotes of the shell is one word, whatever stands in it.
  const [first = '', ...rest] = next.replace(/(?:'[^']*'|\\')+/g, 'name').split(' ');
  const options = rest.findIndex((word) => word.startsWith('-'));
  const words = options < 0 ? rest.length : options;
  if (OF_TABLE.has(first)) return words === 1;
  if (WITH_VERB.has(first)) return words <= 2 && rest.length > 0;
  return OTHERS.has(first) && words === 0;
}

/**
 * A name as a shell takes it: whoever copies a command must not run what a table is called.
 *
 * @param {string} name
 */
export function shellWord(name) {
  return /^[\w.]+$/.test(name) ? name : `'${name.replaceAll("'", `'\\''`)}'`;
}

/**
 * @param {string} next
 * @returns {HTMLElement}
 */
export function nextStep(next) {
  return isCommand(next) ? commandLine(`banyan ${next}`) : el('span', { class: 'prose', text: next });
}
