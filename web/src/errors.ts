/** Input that cannot be used. The message says what was found, what was expected and what to do. */
export class InputError extends Error {
  override name = "InputError";
}
