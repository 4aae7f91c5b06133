/** The values that the service takes where nothing is set. */
export const settingDefaults = {
  AZURE_OPENAI_DEPLOYMENT: 'gpt-image-1',
  AZURE_OPENAI_API_VERSION: '2025-04-01-preview',
  IMAGE_RPM: 60,
  PACE: 0.98,
  /** The platform's own updates leave a call ten minutes: what it brings must be stored within them as well. */
  CALL_TIMEOUT_SECONDS: 540,
  MAX_ATTEMPTS: 5,
  REFUSAL_SHARE: 0.3,
} as const
