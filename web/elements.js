// What the widgets of this pack share: elements with their properties and children, and a table's words in the page's language.

import { language } from "./words.js";

export function wordsOf(tables) {
  return language().startsWith("zh") ? tables.zh : tables.en;
}

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
