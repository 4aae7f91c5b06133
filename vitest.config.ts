import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // The end-to-end tests mostly wait: more of them than cores may wait at once.
    maxWorkers: 4,
    globalSetup: ['test/support/azurite.ts'],
    reporters: process.env['CI'] === undefined ? ['default'] : ['default', 'json'],
    outputFile: { json: '.test-results.json' },
    coverage: {
      provider: 'v8',
      include: ['src/core/**'],
      thresholds: { branches: 100 },
    },
  },
})
