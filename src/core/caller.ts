/** Who asks over HTTP. */
export type Caller = {
  /** The name of its API key; null where no keys are set, and whoever reaches this machine may do all. */
  readonly key: string | null
  /** Sees and changes what belongs to any key, or to none. */
  readonly isAdmin: boolean
  readonly isReadOnly: boolean
}

/** Without keys the service answers on this machine only, and its user owns all. */
export const localCaller: Caller = { key: null, isAdmin: true, isReadOnly: false }

/** `owner` is the key that something belongs to; what came by the queue belongs to none, so to admins. */
export function mayUse({ isAdmin, key }: Caller, owner: string | null): boolean {
  return isAdmin || (owner !== null && owner === key)
}
