// Runs something that writes workflow commands, and keeps what it wrote.
export function quiet<T>(action: () => T): { result: T; lines: string[] } {
  const write = process.stdout.write;
  const texts: string[] = [];
  process.stdout.write = ((text: string) => {
    texts.push(text);
    return true;
  }) as typeof write;
  try {
    return { result: action(), lines: texts.join("").split("\n") };
  } finally {
    process.stdout.write = write;
  }
}
