import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { PublishResult } from "#core/fleet/publish-order.ts";
import { EarshotError } from "#core/runtime/errors.ts";
import { messageOrder, RouterPublisher } from "../harness/router-publisher.ts";
import { handTopic, type RouterProcess, RouterRig } from "../harness/router-rig.ts";
import { ScriptedLink } from "../harness/scripted-link.ts";
import { until } from "../harness/until.ts";

/** One gateway linked to both routers, one edge that publishes numbers to whichever is first alive. */
class Scene {
  readonly rig: RouterRig;
  readonly one: RouterProcess;
  readonly two: RouterProcess;
  readonly publisher: RouterPublisher;
  readonly links: readonly ScriptedLink[];
  /** Numbers that were taken for somebody, and codes of the others. */
  readonly taken: number[] = [];
  readonly unheard: number[] = [];
  readonly failed: string[] = [];
  readonly #answers: Promise<void>[] = [];
  #running = true;
  #loop: Promise<void> = Promise.resolve();
  #next = 0;

  private constructor(rig: RouterRig, routers: readonly [RouterProcess, RouterProcess], publisher: RouterPublisher) {
    this.rig = rig;
    [this.one, this.two] = routers;
    this.publisher = publisher;
    this.links = routers.map((router) => new ScriptedLink(router.router.address, "g0"));
  }

  static async set(): Promise<Scene> {
    const rig = await RouterRig.start();
    const [one, two] = await Promise.all([rig.spawn(), rig.spawn()]);
    rig.topics([handTopic("shop.chat")]);
    const owners = await rig.map([one, two]);
    const scene = new Scene(rig, [one, two], new RouterPublisher(owners));
    rig.members(["g0"]);
    await Promise.all(scene.links.map((link) => link.interest([{ topicId: "shop.chat", count: 1 }], true)));
    await until(async () => (await one.notReady()).length + (await two.notReady()).length === 0, "both are ready");
    return scene;
  }

  publish(perSecond: number): void {
    this.#loop = (async () => {
      const startedAtMs = performance.now();
      while (this.#running) {
        const due = ((performance.now() - startedAtMs) / 1000) * perSecond;
        while (this.#next < due) this.#answers.push(this.#publishOne());
        await delay(2);
      }
    })();
  }

  get published(): number {
    return this.#next;
  }

  async stopPublishing(): Promise<void> {
    this.#running = false;
    await this.#loop;
    await Promise.all(this.#answers);
  }

  /** Numbers that were heard over either link, as often as they were. */
  get heard(): readonly number[] {
    return this.links.flatMap((link) => link.messages.map(({ payload }) => payload as number));
  }

  get lost(): readonly number[] {
    const heard = new Set(this.heard);
    return this.taken.filter((number) => !heard.has(number));
  }

  get doubled(): readonly number[] {
    const seen = new Set<number>();
    return this.heard.filter((number) => seen.size === seen.add(number).size);
  }

  async close(): Promise<void> {
    await this.stopPublishing();
    for (const link of this.links) link.close();
    await this.publisher.close();
    await this.rig.close();
  }

  async #publishOne(): Promise<void> {
    const number = this.#next;
    this.#next += 1;
    try {
      const result: PublishResult = await this.publisher.placer.place(messageOrder("shop.chat", number));
      (result.deliveredTo > 0 ? this.taken : this.unheard).push(number);
    } catch (error) {
      this.failed.push(error instanceof EarshotError ? error.code : String(error));
    }
  }
}

let scene: Scene;

beforeEach(async () => {
  scene = await Scene.set();
});

afterEach(async () => {
  await scene.close();
});

test("a router that is asked to stop under load loses and doubles nothing, and goes when it is released", async () => {
  const { rig, one, two, links, publisher } = scene;
  scene.publish(500);
  await until(() => links[0] !== undefined && links[0].messages.length > 200, "the first router carries messages");
  const { stream } = one;
  one.kill("SIGTERM");
  await until(() => links[0]?.draining === true, "its links are told");
  await until(
    () => stream.frames.some((frame) => frame.case === "report" && frame.value.draining),
    "the operator is told",
  );
  const before = links[1]?.messages.length ?? 0;
  await until(() => (links[1]?.messages.length ?? 0) > before + 400, "the second router carries messages");
  expect(one.ended).toBe(false);
  const owners = await rig.map([two], []);
  publisher.hand.set(owners);
  stream.push({ released: true });
  expect(await one.exit()).toBe(0);
  expect(links[0]?.over).toBe("well");
  await until(() => scene.published > 1_500, "it goes on");
  await scene.stopPublishing();
  await until(() => scene.lost.length === 0, "everything taken is heard");
  expect(scene.doubled).toEqual([]);
  expect([scene.failed, scene.unheard]).toEqual([[], []]);
  expect(scene.heard.length).toBe(scene.published);
});

test("without an operator a router leaves by itself once nobody publishes there, and loses and doubles nothing", async () => {
  const { rig, one, links } = scene;
  scene.publish(500);
  await until(() => links[0] !== undefined && links[0].messages.length > 100, "the first router carries messages");
  rig.operator.kill();
  one.kill("SIGTERM");
  expect(await one.exit()).toBe(0);
  await scene.stopPublishing();
  await until(() => scene.lost.length === 0, "everything taken is heard");
  expect(scene.doubled).toEqual([]);
  expect([scene.failed, scene.unheard]).toEqual([[], []]);
  expect(one.log).toContain("router drained");
});

test("a router does not leave while a link has not confirmed its last batch", async () => {
  const { one, links, publisher } = scene;
  const [link] = links;
  if (link === undefined) throw new Error("there is a link");
  link.confirming = false;
  await publisher.placer.place(messageOrder("shop.chat", 0));
  const { stream } = one;
  one.kill("SIGTERM");
  stream.push({ released: true });
  const { beats } = link;
  await until(() => link.beats > beats + 1, "it lives on for more than a second");
  expect(one.ended).toBe(false);
  link.confirmHeld();
  expect(await one.exit()).toBe(0);
});

test("a killed router costs what was under way in it and no more; the next publish goes to the other", async () => {
  const { one, links } = scene;
  scene.publish(500);
  await until(() => links[0] !== undefined && links[0].messages.length > 200, "the first router carries messages");
  one.kill("SIGKILL");
  await one.exit();
  const before = links[1]?.messages.length ?? 0;
  await until(() => (links[1]?.messages.length ?? 0) > before + 100, "the second router carries messages");
  await scene.stopPublishing();
  await until(() => links[0]?.over !== undefined, "the link is over");
  expect(scene.doubled).toEqual([]);
  expect(new Set(scene.failed)).toEqual(new Set(scene.failed.length > 0 ? ["publish_unknown"] : []));
  // At 500 a second a few milliseconds of messages are under way.
  expect(scene.lost.length + scene.failed.length).toBeLessThan(50);
});

test("a router that was frozen does not answer that nobody listens before its gateways are back", async () => {
  const { one, links, publisher } = scene;
  one.kill("SIGSTOP");
  const { incarnation } = one.router;
  await until(() => publisher.placer.streamState(incarnation) === "dead", "edges give it up");
  links[0]?.close();
  one.kill("SIGCONT");
  const result = await publisher.placer.place(messageOrder("shop.chat:elsewhere", 0));
  const heard = await publisher.placer.place(messageOrder("shop.chat", 1));
  expect(heard.deliveredTo).toBe(1);
  expect(result.messageId.startsWith(scene.two.router.incarnation)).toBe(true);
  const back = new ScriptedLink(one.router.address, "g0");
  await back.interest([{ topicId: "shop.chat", count: 1 }], true);
  await until(async () => {
    const { messageId } = await publisher.placer.place(messageOrder("shop.chat:elsewhere", 0));
    return messageId.startsWith(one.router.incarnation);
  }, "it answers again when its gateway is back");
  back.close();
});
