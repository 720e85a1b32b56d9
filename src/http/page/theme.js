// @ts-check
import { byId, setText } from './dom.js';

const KEY = 'banyan.theme';
const THEMES = ['system', 'light', 'dark'];

/**
 * The system's choice, until somebody chooses.
 *
 * @param {() => void} onChange
 */
export function themeToggle(onChange) {
  const button = byId('theme');
  let current = localStorage.getItem(KEY) ?? 'system';
  const apply = () => {
    if (!THEMES.includes(current)) current = 'system';
    if (current === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = current;
    setText(button.lastElementChild ?? button, current);
  };
  apply();
  button.addEventListener('click', () => {
    current = THEMES[(THEMES.indexOf(current) + 1) % THEMES.length] ?? 'system';
    localStorage.setItem(KEY, current);
    apply();
    onChange();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', onChange);
}
