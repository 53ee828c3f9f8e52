// The page's language, and this pack's own words in it: locales/LANGUAGE/main.json, under "x2edit".

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

export function language() {
  const locale = app.extensionManager?.setting?.get("Comfy.Locale") ?? navigator.language ?? "en";
  return String(locale).split("-")[0];
}

let tables = null;

// Never fails: without words everything stays in English.
export async function ownWords() {
  tables ??= api
    .fetchApi("/i18n")
    .then((reply) => (reply.ok ? reply.json() : {}))
    .catch(() => ({}));
  return (await tables)[language()]?.x2edit ?? {};
}
