import type { Fault } from './fields.ts'

/**
 * The fault of a setting that still holds a reference: where the platform cannot resolve one, the app gets its text.
 * Source: Microsoft's documentation of Key Vault references. The text names a vault and a secret, and holds neither.
 */
export function unresolvedReference(name: string, found: string): Fault | undefined {
  if (!/^@Microsoft\.(?:KeyVault|AppConfiguration)\(/i.test(found)) return undefined
  return { name, found: `a reference that Azure did not resolve, ${found.slice(0, 200)}`, wanted }
}

const wanted =
  'the secret itself: it must exist and be enabled, and the app needs the role Key Vault Secrets User on its vault, with keyVaultReferenceIdentity naming that identity; see the trouble section of docs/deploy.md'
