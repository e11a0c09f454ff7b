// Owns: the versions of the protocols between our processes that both ends name in their hellos. N talks to N-1: every
// newer field is optional to the older side. Elsewhere: the version of Sync (sync-frames.ts).

/** Link (proto/earshot/internal/v1/link.proto). */
export const LINK_PROTOCOL_VERSION = 1;

/** RouterService.PublishStream (proto/earshot/internal/v1/router.proto). */
export const PUBLISH_PROTOCOL_VERSION = 1;
