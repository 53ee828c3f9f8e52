// What this pack's choices are called in the page's language; what a graph stores stays the same.

import { app } from "../../scripts/app.js";
import { ownWords } from "./words.js";

let labels = {};

app.registerExtension({
  name: "x2edit.options",
  async init() {
    labels = (await ownWords()).options ?? {};
  },
  nodeCreated(node) {
    const kind = node.constructor.comfyClass ?? "";
    if (!/^(X2Edit|ICEdit)/.test(kind)) return;
    for (const widget of node.widgets ?? []) {
      if (widget.type !== "combo" || widget.options?.getOptionLabel) continue;
      widget.options.getOptionLabel = (value) => labels[value] ?? String(value);
    }
  },
});
