// Lists the routes of /openapi.json. All text is set as text, never as HTML.
const at = (id) => document.getElementById(id);

function element(name, text = "", ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

function table(heads, rows) {
  const head = element("tr", "", ...heads.map((text) => element("th", text)));
  const lines = rows.map((row) => element("tr", "", ...row.map((text) => element("td", text))));
  return element("table", "", element("thead", "", head), element("tbody", "", ...lines));
}

// Puts schemas in the place of their names, at most so deep.
function resolved(schema, document_, depth = 6) {
  if (Array.isArray(schema)) return schema.map((item) => resolved(item, document_, depth));
  if (schema === null || typeof schema !== "object" || depth === 0) return schema;
  if (schema.$ref) {
    const parts = schema.$ref.slice(2).split("/");
    return resolved(parts.reduce((found, part) => found[part], document_), document_, depth - 1);
  }
  const entries = Object.entries(schema).filter(([key]) => key !== "title");
  return Object.fromEntries(entries.map(([key, value]) => [key, resolved(value, document_, depth)]));
}

function section(path, method, route, document_) {
  const made = element("section", "", element("h2", "", element("code", `${method.toUpperCase()} ${path}`)));
  made.append(element("p", route.summary ?? ""), element("p", route.description ?? ""));
  if (route.parameters?.length) {
    const rows = route.parameters.map((each) => [
      each.name, each.in, each.required ? "required" : "", each.description ?? "",
    ]);
    made.append(table(["parameter", "in", "", ""], rows));
  }
  const body = route.requestBody?.content?.["application/json"]?.schema;
  if (body) {
    made.append(element("h3", "Body"));
    made.append(element("pre", JSON.stringify(resolved(body, document_), null, 2)));
  }
  const replies = Object.entries(route.responses ?? {});
  made.append(table(["status", ""], replies.map(([status, reply]) => [status, reply.description])));
  return made;
}

async function show() {
  const token = at("token").value;
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const reply = await fetch("openapi.json", { headers });
  const content = await reply.json();
  at("routes").replaceChildren();
  if (!reply.ok) {
    at("state").textContent = content.error.message;
    return;
  }
  at("state").textContent = `${content.info.title} ${content.info.version}`;
  for (const [path, methods] of Object.entries(content.paths)) {
    for (const [method, route] of Object.entries(methods)) {
      at("routes").append(section(path, method, route, content));
    }
  }
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
show();
