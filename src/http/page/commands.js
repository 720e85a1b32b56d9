// @ts-check
import { commandLine, el } from './dom.js';

const COMMANDS = new Set(
  `backfill check conflicts dead-letters init preview readers recover redrive resolve-conflict run stage status verdict verify waive writers`.split(
    ' ',
  ),
);
const SECOND = new Set(['list', 'show', 'redrive', 'discard', 'resolve', 'status', 'pause', 'resume', 'start']);

/**
 * Whether a next step is a command line. Prose may begin with the same word: `check the network`.
 *
 * @param {string} next
 */
export function isCommand(next) {
  const [first = '', second] = next.split(' ');
  if (!COMMANDS.has(first)) return false;
  return second === undefined || SECOND.has(second) || /^(-|<|[A-Z]+$)|[."*]/.test(second);
}

/**
 * @param {string} next
 * @returns {HTMLElement}
 */
export function nextStep(next) {
  return isCommand(next) ? commandLine(`banyan ${next}`) : el('span', { class: 'prose', text: next });
}
