// The slider of X2Edit Compare: one DOM widget, which the classic canvas and Nodes 2.0 both mount.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { element, wordsOf } from "./elements.js";

const NODE = "X2EditCompare";
const KEY = "x2edit_compare";
const STEP = 2;

const WORDS = {
  en: {
    slider: "Before and after",
    before: "Before",
    after: "After",
    target: "Target",
    mask: "Mask",
    previous: "Previous pair",
    next: "Next pair",
    empty: "Run the graph to compare.",
    gone: "The pictures are gone: run the graph again.",
  },
  zh: {
    slider: "编辑前后",
    before: "编辑前",
    after: "编辑后",
    target: "标准答案",
    mask: "遮罩",
    previous: "上一对",
    next: "下一对",
    empty: "运行后可对比。",
    gone: "图片已不在：请重新运行。",
  },
};

const STYLE = `
.x2edit-compare {
  display: flex; flex-direction: column; gap: 4px; box-sizing: border-box; width: 100%; height: 100%; min-height: 160px;
  color: var(--input-text, #ddd); font: 12px/1.3 sans-serif; user-select: none;
}
.x2edit-compare .x2edit-stage {
  position: relative; flex: 1; min-height: 0; overflow: hidden; border-radius: 4px; cursor: ew-resize; touch-action: none;
  background: var(--comfy-input-bg, #222); outline-offset: -2px;
}
.x2edit-compare .x2edit-stage:focus-visible { outline: 2px solid #3c9; }
.x2edit-compare .x2edit-stage img {
  position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; pointer-events: none;
}
.x2edit-compare .x2edit-line {
  position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: #fff; box-shadow: 0 0 3px #000;
  pointer-events: none;
}
.x2edit-compare .x2edit-line::after {
  content: "◂▸"; position: absolute; top: 50%; left: 50%; translate: -50% -50%; padding: 2px 5px; border-radius: 10px;
  color: #222; background: #fff; font-size: 11px; letter-spacing: 1px; box-shadow: 0 0 3px #000;
}
.x2edit-compare .x2edit-tag {
  position: absolute; top: 4px; padding: 1px 6px; border-radius: 8px; color: #fff; background: #000a; pointer-events: none;
}
.x2edit-compare .x2edit-empty { position: absolute; inset: 0; display: grid; place-items: center; opacity: 0.7; }
.x2edit-compare .x2edit-bar { display: flex; gap: 6px; align-items: center; min-height: 22px; }
.x2edit-compare .x2edit-sizes { flex: 1; opacity: 0.75; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.x2edit-compare button {
  color: inherit; background: var(--comfy-input-bg, #333); border: 1px solid var(--border-color, #555); border-radius: 4px;
  padding: 1px 8px; font: inherit; cursor: pointer;
}
.x2edit-compare button[aria-pressed="true"] { border-color: #3c9; }
.x2edit-compare [hidden] { display: none; }
`;

function address(file) {
  return api.apiURL(`/view?${new URLSearchParams(file)}`);
}

class Comparison {
  constructor() {
    this.text = wordsOf(WORDS);
    this.pairs = [];
    this.row = 0;
    this.share = 50;
    this.showsTarget = false;
    this.showsMask = true;
    this.element = this.draw();
    this.render();
  }

  draw() {
    const picture = () => element("img", { alt: "", draggable: false });
    this.before = picture();
    this.after = picture();
    this.mask = picture();
    this.line = element("div", { className: "x2edit-line" });
    this.left = element("span", { className: "x2edit-tag", textContent: this.text.before });
    this.right = element("span", { className: "x2edit-tag" });
    this.empty = element("div", { className: "x2edit-empty" });
    this.left.style.left = this.right.style.right = "4px";
    this.stage = element(
      "div",
      { className: "x2edit-stage", tabIndex: 0, role: "slider", ariaLabel: this.text.slider, ariaValueMin: 0, ariaValueMax: 100 },
      this.after,
      this.before,
      this.mask,
      this.line,
      this.left,
      this.right,
      this.empty,
    );
    this.listen();
    return element("div", { className: "x2edit-compare" }, this.stage, this.bar());
  }

  bar() {
    const button = (textContent, title, onclick) => element("button", { type: "button", textContent, title, onclick });
    this.previous = button("‹", this.text.previous, () => this.leaf(-1));
    this.count = element("span");
    this.next = button("›", this.text.next, () => this.leaf(1));
    this.sizes = element("span", { className: "x2edit-sizes" });
    this.targetButton = button(this.text.target, `${this.text.target} (T)`, () => this.toggle("showsTarget"));
    this.maskButton = button(this.text.mask, `${this.text.mask} (M)`, () => this.toggle("showsMask"));
    return element(
      "div",
      { className: "x2edit-bar" },
      this.previous,
      this.count,
      this.next,
      this.sizes,
      this.targetButton,
      this.maskButton,
    );
  }

  listen() {
    const stage = this.stage;
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return; // the graph's own menu and panning stay as they are
      event.stopPropagation();
      stage.setPointerCapture(event.pointerId);
      this.follow(event);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!stage.hasPointerCapture(event.pointerId)) return;
      event.stopPropagation();
      this.follow(event);
    });
    stage.addEventListener("keydown", (event) => this.onKey(event));
    for (const picture of [this.before, this.after]) {
      picture.addEventListener("load", () => this.describe());
      picture.addEventListener("error", () => this.lost());
    }
  }

  follow(event) {
    const box = this.stage.getBoundingClientRect(); // as drawn: the canvas may be zoomed
    this.move((100 * (event.clientX - box.left)) / box.width);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowLeft: () => this.move(this.share - STEP),
      ArrowRight: () => this.move(this.share + STEP),
      Home: () => this.move(0),
      End: () => this.move(100),
      PageUp: () => this.leaf(-1),
      PageDown: () => this.leaf(1),
      t: () => this.toggle("showsTarget"),
      m: () => this.toggle("showsMask"),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation(); // the graph's shortcuts must not fire from here
    act();
  }

  show(pairs) {
    this.pairs = pairs;
    this.row = Math.min(this.row, Math.max(0, pairs.length - 1));
    this.render();
  }

  move(share) {
    this.share = Math.min(100, Math.max(0, share));
    this.before.style.clipPath = `inset(0 ${100 - this.share}% 0 0)`;
    this.line.style.left = `${this.share}%`;
    this.stage.ariaValueNow = String(Math.round(this.share));
  }

  leaf(step) {
    const rows = this.pairs.length;
    if (rows < 2) return;
    this.row = (this.row + step + rows) % rows;
    this.render();
  }

  toggle(name) {
    this[name] = !this[name];
    this.render();
  }

  render() {
    const pair = this.pairs[this.row];
    for (const part of [this.before, this.after, this.line, this.left, this.right]) part.hidden = !pair;
    for (const part of [this.previous, this.count, this.next]) part.hidden = this.pairs.length < 2;
    this.empty.hidden = Boolean(pair);
    this.empty.textContent = this.text.empty;
    this.targetButton.hidden = !pair?.target;
    this.maskButton.hidden = !pair?.mask;
    this.mask.hidden = !(pair?.mask && this.showsMask);
    this.count.textContent = `${this.row + 1} / ${this.pairs.length}`;
    const right = this.showsTarget && pair?.target ? "target" : "after";
    this.right.textContent = this.text[right];
    this.targetButton.ariaPressed = String(right === "target");
    this.maskButton.ariaPressed = String(this.showsMask);
    this.sizes.textContent = "";
    if (!pair) return;
    this.before.src = address(pair.before);
    this.after.src = address(pair[right]);
    if (pair.mask) this.mask.src = address(pair.mask);
    this.move(this.share);
  }

  describe() {
    const [left, right] = [this.before, this.after].map((picture) => `${picture.naturalWidth} × ${picture.naturalHeight}`);
    this.sizes.textContent = left === right ? left : `${left} | ${right}`;
  }

  lost() {
    this.empty.hidden = false;
    this.empty.textContent = this.text.gone;
  }
}

const shown = new WeakMap();

function* comparisons(graph, path = "") {
  for (const node of graph?.nodes ?? []) {
    if (shown.has(node)) yield [shown.get(node), `${path}${node.id}`, `${graph.id}:${node.id}`];
    if (node.subgraph) yield* comparisons(node.subgraph, `${path}${node.id}:`);
  }
}

app.registerExtension({
  name: "x2edit.compare",
  setup() {
    document.head.append(element("style", { textContent: STYLE }));
  },
  nodeCreated(node) {
    if (node.constructor.comfyClass !== NODE) return;
    const comparison = new Comparison();
    shown.set(node, comparison);
    const widget = node.addDOMWidget("comparison", "x2edit_compare", comparison.element, {
      serialize: false,
      hideOnZoom: false,
      getMinHeight: () => 180,
    });
    widget.serialize = false;
    node.setSize([Math.max(node.size[0], 320), Math.max(node.size[1], 360)]);
    const onExecuted = node.onExecuted;
    node.onExecuted = function (output) {
      onExecuted?.call(this, output);
      comparison.show(output?.[KEY] ?? []);
    };
  },
  // Outputs of a finished run, opened from the queue or with its tab: keyed as the run or as the page names nodes.
  onNodeOutputsUpdated(outputs) {
    for (const [comparison, executed, located] of comparisons(app.rootGraph ?? app.graph)) {
      const pairs = (outputs?.[executed] ?? outputs?.[located])?.[KEY];
      if (pairs) comparison.show(pairs);
    }
  },
});
