// Makes nodes of the page from text.
//
// Knows the document; knows nothing of answers. Questions, titles, texts and addresses of passages
// are untrusted: they become text nodes, and no string becomes HTML anywhere.

export const find = (id) => document.getElementById(id);

/** Make an element. `attributes` are plain attributes, `on…` listeners, or `style` properties. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") {
      for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
    } else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** Wrap untrusted text so that marks of direction in it do not turn the text around it. */
export const isolated = (text) => element("bdi", {}, String(text));

export const unseen = (text) => element("span", { class: "unseen" }, text);

/** Join nodes by a separator. */
export const joined = (nodes, separator = " · ") =>
  nodes.flatMap((node, index) => (index ? [separator, node] : [node]));
