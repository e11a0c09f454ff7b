// Owns: the form of `redisUrl`. Pure; imports nothing, since the settings table itself does. Elsewhere: what the settings
// mean together (redis-target.ts).

/** Undefined where it can be used, or empty; otherwise what would be right. */
export function redisUrlProblem(text: string): string | undefined {
  if (text === "" || redisUrlsOf(text) !== undefined) return undefined;
  return "redis:// or rediss:// addresses with a host each, separated by commas";
}

/** All of them in one scheme; undefined where one is wrong. */
export function redisUrlsOf(text: string): readonly URL[] | undefined {
  const urls: URL[] = [];
  for (const item of text.split(",")) {
    const url = URL.canParse(item.trim()) ? new URL(item.trim()) : undefined;
    if (url === undefined || !isRight(url) || url.protocol !== (urls[0] ?? url).protocol) return undefined;
    urls.push(url);
  }
  return urls;
}

function isRight({ protocol, hostname, pathname, search, hash, username, password }: URL): boolean {
  if (protocol !== "redis:" && protocol !== "rediss:") return false;
  if (hostname === "" || !/^(\/\d{0,4})?$/.test(pathname) || search !== "" || hash !== "") return false;
  return [username, password].every((part) => isDecodable(part));
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
