// Text from outside (names of files and classes) made safe for where it goes: the screen, a spreadsheet, a shell.

const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };

/** TEXT with everything that does not print shown as an escape, as `resnets` shows it on a terminal. */
export function safe(text) {
  return String(text).replace(/(?! )[\p{C}\p{Z}]/gu, (sign) => {
    const code = sign.codePointAt(0);
    const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return SHORT[sign] ?? `\\${letter}${code.toString(16).padStart(digits, "0")}`;
  });
}

/** A name inside a sentence: its own direction of writing does not reorder the words around it. */
export function isolated(name) {
  return `\u2068${safe(name)}\u2069`;
}

/** ROWS as the CSV that `resnets predict --csv` writes: no spreadsheet takes a cell for a formula. */
export function csv(rows) {
  return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
}

function cell(value) {
  const text = safe(value);
  const plain = "=+-@".includes(text[0] ?? " ") ? `'${text}` : text;
  return /[",]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

/** TEXT as one word of a POSIX shell. A sign that could drive the terminal it is pasted into becomes a question mark. */
export function quoted(text) {
  return `'${text.replace(/(?! )[\p{C}\p{Z}]/gu, "?").replaceAll("'", String.raw`'\''`)}'`;
}

/** The command that sends the file called NAME to ADDRESS; with LOCKED it takes the token from $TOKEN. */
export function curl(name, type, address, locked) {
  const token = locked ? ' -H "Authorization: Bearer $TOKEN"' : "";
  const file = name === "-" ? "./-" : name; // curl takes @- for its standard input
  return `curl --data-binary ${quoted(`@${file}`)} -H ${quoted(`Content-Type: ${type}`)}${token} ${quoted(address)}`;
}
