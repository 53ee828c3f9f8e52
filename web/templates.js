// This pack's templates in an order of their own, with titles in the page's language; notes and titles in graphs likewise.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { ownWords } from "./words.js";

const FIRST = ["Try it now - X2Edit", "Try it now - ICEdit", "Try it now", "Image Edit", "Only here"];
const MARK = "Try it now - X2Edit";
const ROUTE = "/workflow_templates/";

function rank(name) {
  const place = FIRST.findIndex((start) => name.startsWith(start));
  return place < 0 ? FIRST.length : place;
}

function ordered(names) {
  return [...names].sort((a, b) => rank(a) - rank(b) || names.indexOf(a) - names.indexOf(b));
}

// The page shows a file's name as its title and asks for the file by it: shown names lead back to the files'.
async function offerInOrder() {
  const titles = (await ownWords()).templates ?? {};
  const files = Object.fromEntries(Object.entries(titles).map(([file, title]) => [title, file]));
  const offered = api.getWorkflowTemplates;
  const address = api.apiURL;
  api.getWorkflowTemplates = async function (...given) {
    const packs = await offered.apply(this, given);
    try {
      const own = Object.keys(packs).find((pack) => packs[pack].includes(MARK));
      return own ? { ...packs, [own]: ordered(packs[own]).map((name) => titles[name] ?? name) } : packs;
    } catch (error) {
      console.warn("X2Edit: the templates stay in the host's order.", error);
      return packs;
    }
  };
  api.apiURL = function (route) {
    return address.call(this, route?.startsWith?.(ROUTE) ? withFileName(route, files) : route);
  };
}

function withFileName(route, files) {
  const shown = route.slice(route.lastIndexOf("/") + 1);
  const end = /(-\d+)?\.\w+$/.exec(shown)?.[0] ?? "";
  let name = shown.slice(0, shown.length - end.length);
  try {
    name = decodeURIComponent(name);
  } catch {
    return route;
  }
  return name in files ? route.slice(0, -shown.length) + encodeURIComponent(files[name]) + end : route;
}

function translate(graph, words) {
  for (const node of graph.nodes ?? []) {
    if (node.title in words) node.title = words[node.title];
    if (node.type === "MarkdownNote" && node.widgets_values?.[0] in words) node.widgets_values[0] = words[node.widgets_values[0]];
  }
  for (const group of graph.groups ?? []) if (group.title in words) group.title = words[group.title];
  for (const inside of graph.definitions?.subgraphs ?? []) {
    if (inside.name in words) inside.name = words[inside.name];
    translate(inside, words);
  }
}

function isOurs(graph) {
  const parts = [graph, ...(graph.definitions?.subgraphs ?? [])];
  return parts.some((part) => (part.nodes ?? []).some((node) => node.properties?.cnr_id === "x2edit"));
}

// Older graphs name the folder of X2Edit's released file, which the loader now lists by the file.
function nameFiles(graph, listed) {
  const boxes = new Set((graph.definitions?.subgraphs ?? []).map((inside) => inside.id));
  for (const node of graph.nodes ?? []) {
    if (node.type !== "X2EditAdapterLoader" && !boxes.has(node.type)) continue;
    node.widgets_values = node.widgets_values?.map?.((value) => {
      const file = `${value}/lora.safetensors`;
      return typeof value === "string" && !listed.includes(value) && listed.includes(file) ? file : value;
    });
  }
  for (const inside of graph.definitions?.subgraphs ?? []) nameFiles(inside, listed);
}

function adapterNames() {
  const [kind, options] = LiteGraph.registered_node_types.X2EditAdapterLoader?.nodeData?.input?.required?.adapter_name ?? [];
  return Array.isArray(kind) ? kind : (options?.options ?? []);
}

let graphWords = {};

app.registerExtension({
  name: "x2edit.templates",
  async init() {
    try {
      graphWords = (await ownWords()).graphs ?? {};
      await offerInOrder();
    } catch (error) {
      console.warn("X2Edit: the templates stay as the host offers them.", error);
    }
  },
  beforeConfigureGraph(graph) {
    try {
      nameFiles(graph, adapterNames());
      if (isOurs(graph)) translate(graph, graphWords);
    } catch (error) {
      console.warn("X2Edit: the graph is shown as it was saved.", error);
    }
  },
});
