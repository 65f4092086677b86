// Server-sent events from a response's body; EventSource can send no key and no POST.

/** The events of a response, as `{event, data, id}`; comments, such as the server's pings, are passed over. */
export async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event !== null) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever stops reading closes the connection
  }
}

function parse(block) {
  const data = [];
  let event = "message";
  let id;
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^([a-z]*): ?(.*)$/s.exec(line) ?? [];
    if (name === "data") data.push(value);
    else if (name === "event") event = value;
    else if (name === "id") id = value;
  }
  return data.length ? { event, data: data.join("\n"), id } : null;
}
