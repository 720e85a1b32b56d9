// @ts-check
import { token } from './api.js';
import { byId } from './dom.js';

/** The form that asks for the token. It resolves when there is one to try. */
export function tokenForm() {
  const form = /** @type {HTMLFormElement} */ (byId('token-form'));
  const field = /** @type {HTMLInputElement} */ (byId('token'));
  const complaint = byId('token-error');
  return {
    /** @returns {Promise<void>} */
    ask() {
      complaint.textContent = token.get() === undefined ? '' : 'That token is wrong. The worker did not take it.';
      token.forget();
      form.hidden = false;
      field.value = '';
      field.focus();
      return new Promise((resolve) => {
        form.addEventListener(
          'submit',
          (event) => {
            event.preventDefault();
            token.set(field.value.trim());
            resolve();
          },
          { once: true },
        );
      });
    },
  };
}
