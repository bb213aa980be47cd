/** The caller's data do not fit: over HTTP a 400 with this text. */
export class InvalidInput extends Error {
  name = "InvalidInput";
}

/** Calls the host; its errors become exceptions with its words. */
export function host(call) {
  try {
    return call();
  } catch (error) {
    const { tag, val } = error?.payload ?? {};
    if (tag === undefined) throw error;
    throw tag === "invalid-input" ? new InvalidInput(val) : new Error(val ?? tag);
  }
}

/** How an exception is said to whoever called: the caller's mistakes in their own words. */
export function words(error) {
  if (error instanceof InvalidInput) return error.message;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

/** What leaves a function whose WIT type is a result, as its error. */
export function failure(payload) {
  return Object.assign(new Error("the call failed"), { payload });
}
