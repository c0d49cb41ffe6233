"""A charger of electric cars: a service of asyncio, where the others are of threads."""
