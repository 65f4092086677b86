// The messages of a conversation as a tree: each edit and each new answer is one more child of the same parent.

export class Tree {
  constructor(messages = []) {
    this.byId = new Map();
    this.children = new Map();
    for (const message of messages.toSorted((one, other) => one.created - other.created)) this.add(message);
  }

  add(message) {
    this.byId.set(message.id, message);
    const siblings = this.children.get(message.parent) ?? [];
    siblings.push(message.id);
    this.children.set(message.parent, siblings);
  }

  /** The messages from the first to a leaf. */
  path(leaf) {
    const found = [];
    for (let each = this.byId.get(leaf); each; each = this.byId.get(each.parent)) found.push(each);
    return found.reverse();
  }

  /** The versions of a message, itself among them. */
  versions(message) {
    return this.children.get(message.parent) ?? [message.id];
  }

  /** The end of the newest branch below a message. */
  newestLeaf(id) {
    let leaf = id;
    for (let below = this.children.get(leaf); below; below = this.children.get(leaf)) leaf = below.at(-1);
    return leaf;
  }
}
