"""What the agent learns about addresses: translations, names, listeners, peers."""
