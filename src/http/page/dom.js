// @ts-check
import { ago } from './format.js';

/**
 * @typedef {object} Props
 * @property {string} [class]
 * @property {string} [text] always text, never markup: names of tables are data
 * @property {Record<string, string>} [attrs]
 */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props} [props]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  if (props.class !== undefined) node.className = props.class;
  if (props.text !== undefined) node.textContent = props.text;
  for (const [name, value] of Object.entries(props.attrs ?? {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const node = document.getElementById(id);
  if (node === null) throw new Error(`the page has no #${id}`);
  return node;
}

/**
 * Text in place: what has not changed is not touched, so that nothing is laid out again and no selection is lost.
 *
 * @param {Element} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * @param {Element} node
 * @param {string} name
 * @param {string | undefined} value
 */
export function setAttr(node, name, value) {
  if (value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/**
 * What a tooltip says, put together when the pointer comes: the ages in it go on all the time, in rows that nobody looks at too.
 *
 * @param {HTMLElement} node
 * @param {() => string | undefined} text
 */
export function tooltip(node, text) {
  node.addEventListener('pointerenter', () => setAttr(node, 'title', text()));
}

/**
 * A part that is built again only when what it shows has changed: what is built anew loses its focus, and what was selected in it.
 *
 * @template T
 * @param {HTMLElement} host
 * @param {(value: T) => Node[]} build
 * @returns {(value: T, times?: readonly string[]) => void} `times`: those of its ages, in their order, which move with every report
 */
export function part(host, build) {
  /** @type {string | undefined} */
  let shown;
  return (value, times = []) => {
    const key = JSON.stringify(value) ?? '';
    if (key !== shown) host.replaceChildren(...build(value));
    shown = key;
    const ages = host.querySelectorAll('[data-age]');
    times.forEach((time, index) => ages[index] && setAttr(ages[index], 'datetime', time));
  };
}

/**
 * An age, which `refreshAges` keeps true: what it stands in need not be built again for it.
 *
 * @param {string} [at] ISO 8601; default: `part` is told
 */
export function age(at = '') {
  return el('time', { attrs: { datetime: at, 'data-age': '' } });
}

/**
 * @param {Element} root
 * @param {number} now
 */
export function refreshAges(root, now) {
  for (const node of root.querySelectorAll('[data-age]')) setText(node, ago(node.getAttribute('datetime'), now));
}

/**
 * A command with a button that copies it.
 *
 * @param {string} command
 */
export function commandLine(command) {
  const button = el('button', {
    class: 'copy',
    text: 'Copy',
    attrs: { type: 'button', 'aria-label': `Copy: ${command}` },
  });
  const copy = async () => {
    button.textContent = (await copied(command)) ? 'Copied' : 'Select it';
    // Long enough to be read.
    setTimeout(() => void (button.textContent = 'Copy'), 1_600);
  };
  button.addEventListener('click', () => void copy());
  return el('span', { class: 'command' }, el('code', { text: command, attrs: { title: command } }), button);
}

/**
 * @param {string} text
 * @returns {Promise<boolean>}
 */
async function copied(text) {
  try {
    // Only there on https and localhost.
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
