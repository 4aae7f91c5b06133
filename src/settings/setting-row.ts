/** One setting, as documents, the example file and the Bicep have it. Tests hold all of them to this table. */
export type SettingRow = {
  readonly name: string
  /** The service itself, the Functions host that it runs in, or our commands on one machine. */
  readonly readBy: 'service' | 'host' | 'commands'
  readonly kind: SettingKind
  /** What holds where nothing is set, as a reader wants to see it; empty: nothing does. */
  readonly default: string
  /** Whether `infra/` sets it: for every deployment, where a parameter says so, or for none. */
  readonly inAzure: 'always' | 'by parameter' | 'never'
  /** Never shown in full, and in Azure only a reference to a Key Vault. */
  readonly isSecret: boolean
  readonly meaning: string
}

/** `list`: with commas between. */
export type SettingKind = 'text' | 'name' | 'address' | 'number' | 'list' | 'JSON'

/** As it is written down: what is left out is empty, or no secret. */
export type WrittenRow = Omit<SettingRow, 'readBy' | 'default' | 'isSecret'> & {
  readonly default?: string | number
  readonly isSecret?: boolean
}
