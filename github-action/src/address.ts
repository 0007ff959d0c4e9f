// The broker's address: where it is asked, the audience of the job's token, and the broker's own name.
import { Failure, plain } from "./text.ts";

/** The address without a slash at the end. https only, except for this machine. */
export function brokerAddress(text: string): string {
  const wrong = (problem: string, shown = plain(text)) =>
    new Failure(
      `input \`broker\` is \`${shown}\`, which ${problem}; expected an address like \`https://hallpass.example\``,
    );
  if (!URL.canParse(text)) {
    throw wrong("is not an address");
  }
  const url = new URL(text);
  if (url.username !== "" || url.password !== "") {
    throw wrong("holds a user or a password", "...@...");
  }
  if (!isPrivate(url)) {
    throw wrong(url.protocol === "http:" ? "is plain http to another machine" : "is not https");
  }
  if (/[?#]/.test(text) || !/^[!-~]+$/.test(text)) {
    throw wrong("has a query, a fragment or characters that need encoding");
  }
  return text.replace(/\/+$/, "");
}

/** Whether no network can read what is sent to the address. */
export function isPrivate(url: URL): boolean {
  const isThisMachine = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url.hostname);
  return url.protocol === "https:" || (url.protocol === "http:" && isThisMachine);
}
