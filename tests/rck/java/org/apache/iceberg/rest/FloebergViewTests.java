package org.apache.iceberg.rest;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Disabled;
import org.junit.jupiter.api.Test;

/** The kit's view tests with everything switched on that the stock class leaves out. */
public class FloebergViewTests extends RESTCompatibilityKitViewCatalogTests {
  @AfterEach
  void dropEverything() {
    Leftovers.dropAll(catalog());
  }

  @Override
  protected boolean supportsEmptyNamespace() {
    return true;
  }

  @Test
  @Disabled("Java's client refuses the empty namespace")
  @Override
  public void listViewsInEmptyNamespace() {}
}
