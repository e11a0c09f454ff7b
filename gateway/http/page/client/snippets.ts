// Owns: the lines that a visitor copies to hear and speak the topic at hand from elsewhere. Pure. Invariant: no token stands
// in them, only where it goes.

export type Language = "curl" | "javascript" | "python";

export interface SnippetFacts {
  /** `http://localhost:8080`: where this page is, without a path. */
  readonly base: string;
  readonly topicId: string;
  readonly withToken: boolean;
}

export function snippetOf(language: Language, facts: SnippetFacts): string {
  switch (language) {
    case "curl":
      return curl(facts);
    case "javascript":
      return javascript(facts);
    case "python":
      return python(facts);
  }
}

function curl({ base, topicId, withToken }: SnippetFacts): string {
  const token = withToken ? ` -H "Authorization: Bearer $TOKEN"` : "";
  return `# Hear
curl -N${token} ${base}/api/v1/topics/${topicId}/subscribe

# Speak
curl${token} ${base}/api/v1/topics/${topicId}/publish -d '{"payload":"hi"}'`;
}

function javascript({ base, topicId, withToken }: SnippetFacts): string {
  const opened = withToken
    ? `const socket = new WebSocket("${base.replace(/^http/, "ws")}/ws/subscribe");
socket.onopen = () => {
  socket.send(JSON.stringify({ type: "token", token: TOKEN }));
  socket.send(JSON.stringify({ type: "subscribe", topic_id: "${topicId}" }));
};`
    : `const socket = new WebSocket("${base.replace(/^http/, "ws")}/ws/subscribe?topic_id=${topicId}");`;
  return `${opened}
socket.onmessage = ({ data }) => {
  const frame = JSON.parse(data);
  if (frame.type === "subscribed") {
    socket.send(JSON.stringify({ type: "publish", topic_id: frame.topic_id, payload: "hi" }));
  }
  if (frame.type === "message") console.log(frame.payload);
};`;
}

function python({ base, topicId, withToken }: SnippetFacts): string {
  const headers = withToken ? `\nheaders = {"Authorization": f"Bearer {TOKEN}"}` : "";
  const given = withToken ? ", headers=headers" : "";
  return `import json
from urllib.request import Request, urlopen

topic = "${base}/api/v1/topics/${topicId}"${headers}

# Speak
body = json.dumps({"payload": "hi"}).encode()
print(json.load(urlopen(Request(topic + "/publish", body${given}))))

# Hear
for line in urlopen(Request(topic + "/subscribe"${given})):
    if line.startswith(b"data: "):
        print(json.loads(line[6:]))`;
}
