// What the JSON Schema says of a place in a model's YAML: which keys may stand there, of what kind, and what they mean.
import { h } from "../../lib/dom.js";

/** The schema of what stands at a path of keys; undefined where none is known. */
export function schemaAt(schema, keys) {
  let found = { $ref: "#/$defs/ModelConfig" };
  for (const key of keys) {
    const properties = propertiesOf(schema, found);
    found = properties?.[key] ?? additionalOf(schema, found);
    if (!found) return undefined;
  }
  return found;
}

/** The keys that may stand in a block, by name. */
export function propertiesOf(schema, node) {
  return variants(schema, node).find((each) => each.properties)?.properties;
}

function additionalOf(schema, node) {
  return variants(schema, node).find((each) => typeof each.additionalProperties === "object")?.additionalProperties;
}

/** A schema, with all that it refers to or chooses among. */
function variants(schema, node, depth = 0) {
  if (!node || depth > 6) return [];
  const inner = [...(node.anyOf ?? []), ...(node.oneOf ?? [])];
  if (node.$ref) inner.push(schema.$defs[node.$ref.replace("#/$defs/", "")]);
  return [node, ...inner.flatMap((each) => variants(schema, each, depth + 1))];
}

/** The values that may be chosen at a place. */
export function valuesOf(schema, node) {
  const all = variants(schema, node);
  if (all.some((each) => each.type === "boolean")) return ["true", "false"];
  return all.flatMap((each) => each.enum ?? (each.const === undefined ? [] : [each.const])).filter((each) => each !== null).map(String);
}

/** Of what kind a value is, in a word or two. */
export function kindOf(schema, node) {
  const all = variants(schema, node);
  const values = valuesOf(schema, node);
  if (values.length && values[0] !== "true") return values.length > 6 ? "one of several words" : values.join(", ");
  const words = { object: "a block", array: "a list", boolean: "true or false", integer: "a whole number", number: "a number", string: "text" };
  const types = all.map((each) => each.type).filter((type) => typeof type === "string" && type !== "null");
  const first = types.find((type) => type === "object" || type === "array") ?? types[0];
  const bounds = all.find((each) => each.minimum !== undefined || each.maximum !== undefined) ?? {};
  const range = [bounds.minimum !== undefined && `from ${bounds.minimum}`, bounds.maximum !== undefined && `up to ${bounds.maximum}`].filter(Boolean).join(" ");
  return [words[first] ?? "", range].filter(Boolean).join(" ");
}

export function descriptionOf(schema, node) {
  return variants(schema, node).find((each) => each.description)?.description ?? "";
}

/** What to say of the key at the cursor, as elements. */
export function describe(schema, keys) {
  if (!keys.length) return [h("span", { class: "faint" }, "Ctrl+Space lists the keys that may stand at the cursor.")];
  const node = schemaAt(schema, keys);
  if (!node) return [h("code", {}, keys.join(".")), h("span", { class: "faint" }, " is no key that is known.")];
  const kind = kindOf(schema, node);
  return [h("code", {}, keys.join(".")), kind && h("span", { class: "badge" }, kind), h("span", {}, descriptionOf(schema, node))].filter(Boolean);
}
