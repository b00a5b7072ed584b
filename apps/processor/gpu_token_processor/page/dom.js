// Changes the page in place: what somebody reads, has selected or has focused stays the same element.

export const at = id => document.getElementById(id);

// Texts are set as text, never as HTML: names come from events.
export function setText(node, text) {
  if (node.textContent === text) return;
  const selection = document.getSelection();
  // It gets its new text the next time, once it is not selected any more.
  if (selection && !selection.isCollapsed && selection.containsNode(node, true)) return;
  if (node.firstChild?.nodeType === Node.TEXT_NODE && node.childNodes.length === 1) node.firstChild.data = text;
  else node.textContent = text;
}

// The number as the API gave it stands beside its text.
export function setNumber(node, value, write) {
  node.value = value == null ? "" : String(value);
  if (value == null) node.removeAttribute("title");
  else node.title = String(value);
  setText(node, write(value));
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

export function make(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// Keeps one child for each item. `create` makes it, `update` writes the item into it. An item that is known stays
// where it is unless `inOrder`; new ones come last.
export function keep(parent, items, {key, create, update, inOrder = false}) {
  const known = new Map([...parent.children].map(child => [child.dataset.key, child]));
  const wanted = new Set(items.map(key));
  for (const [name, child] of known) if (!wanted.has(name)) child.remove();
  items.forEach((item, index) => {
    const name = key(item);
    let child = known.get(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
      parent.append(child);
    }
    if (inOrder && parent.children[index] !== child) parent.insertBefore(child, parent.children[index]);
    update(child, item);
  });
}

// A name: cut where it would break the layout, whole in its title, in its own direction of writing.
export function nameCell(tag) {
  const cell = make(tag, "name", make("bdi"));
  if (tag === "th") cell.scope = "row";
  return cell;
}

export function setName(cell, text) {
  cell.title = text;
  setText(cell.lastElementChild, text);
}

export const numberCell = () => make("td", "number", make("data"));
export const setCell = (cell, value, write) => setNumber(cell.firstElementChild, value, write);
