// Errors that say what to do.

/** @param {string} message
 * @param {string} hint */
export const refusal = (message, hint) => Object.assign(new Error(message), { hint })

/** @param {string} what
 * @param {File} file
 * @param {unknown} error */
export function unreadable(what, file, error) {
  return refusal(
    `${what}, '${file.name}', cannot be read: ${/** @type {Error} */ (error).message}`,
    'It was changed, moved or removed since it was chosen, or it is a folder. Choose it again.',
  )
}
