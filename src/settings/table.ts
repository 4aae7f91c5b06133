import { commandSettings, hostSettings } from './host-settings.ts'
import { serviceSettings } from './service-settings.ts'
import type { SettingRow, WrittenRow } from './setting-row.ts'

/** All of them, in the order in which documents show them. */
export const settingTable: readonly SettingRow[] = [
  ...rows('service', serviceSettings),
  ...rows('host', hostSettings),
  ...rows('commands', commandSettings),
]

function rows(readBy: SettingRow['readBy'], written: readonly WrittenRow[]): readonly SettingRow[] {
  return written.map((row) => ({
    ...row,
    readBy,
    default: String(row.default ?? ''),
    isSecret: row.isSecret ?? false,
  }))
}

const secretNames = new Set(settingTable.filter(({ isSecret }) => isSecret).map(({ name }) => name))

export function isSecretSetting(name: string): boolean {
  return secretNames.has(name)
}
